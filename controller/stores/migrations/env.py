"""Run by Alembic, always with a connection that is open already."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], render_as_batch=True, transactional_ddl=False
)
context.run_migrations()
