"""From a page command to one person's channel, in the language that person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller.model.commands import Notify
from controller.model.errors import NotificationError
from controller.model.policy import Person
from controller.model.runbooks import Text
from controller.model.words import DRILL_MARK
from controller.ports import Notifier, RenderedPage

MakeLink = Callable[[str, str], str]
"""(incident, person) -> the address of a signed acknowledge link."""


class Pager:
    """`notifiers` by (person, channel name). What the four lines say was composed when the page was decided."""

    def __init__(
        self,
        people: Mapping[str, Person],
        notifiers: Mapping[tuple[str, str], Notifier],
        make_link: MakeLink,
    ) -> None:
        self._people = people
        self._notifiers = notifiers
        self._make_link = make_link

    async def send(self, command: Notify) -> str:
        """Raises NotificationError; permanent when there is no such person or channel."""
        person = self._people.get(command.person)
        notifier = self._notifiers.get((command.person, command.channel))
        if person is None or notifier is None:
            raise NotificationError(
                f"{command.person} has no channel {command.channel} in this configuration", permanent=True
            )
        return await notifier.send(command, self.render(command, person))

    def render(self, command: Notify, person: Person) -> RenderedPage:
        def of(text: Text) -> str:
            return text.zh if person.language == "zh" else text.en

        what, impact, did, need = (
            of(text) for text in (command.text.what, command.text.impact, command.text.did, command.text.need)
        )
        mark = of(DRILL_MARK)
        subject, severity = what.removeprefix(mark).strip(), f"SEV{command.severity}"
        if not subject.startswith(severity):
            subject = f"{severity} {subject}"
        if command.drill:
            subject = f"{mark} {subject}"
        return RenderedPage(
            subject=subject,
            lines=(what, impact, did, need),
            link=self._make_link(command.incident, command.person) if command.link else "",
            severity=command.severity,
            drill=command.drill,
            incident=command.incident,
            person=command.person,
        )

    async def close(self) -> None:
        for notifier in self._notifiers.values():
            await notifier.close()
