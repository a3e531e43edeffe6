"""What the composition root registered: adapter classes by category and kind. Loaded only when configured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr

from controller.configuration.documents import Document, Location
from controller.configuration.secrets import UNREFERRED
from controller.configuration.validation import closest, validate
from controller.model.errors import Problem


class NoParameters(BaseModel):
    """Parameters or settings of an adapter that declares none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """`names`: category ("probe", "action", "driver", "notifier") -> the kinds in it. `load(category, kind)` gives the
    adapter's class and raises ImportError when its library is not installed."""

    names: Mapping[str, Collection[str]]
    load: Callable[[str, str], type[Any]]
    _loaded: dict[tuple[str, str], type[Any] | str] = field(default_factory=dict, repr=False, compare=False)

    def adapter(
        self, category: str, kind: str, document: Document, path: Location, problems: list[Problem]
    ) -> type[Any] | None:
        """The adapter's class; None, with a problem at `path`, when it is unknown or can't be loaded."""
        known = self.names.get(category, ())
        if kind not in known:
            problems.append(document.problem(path, f"unknown {category} {kind!r}{closest(kind, known)}"))
            return None
        if (category, kind) not in self._loaded:
            try:
                self._loaded[category, kind] = self.load(category, kind)
            except (ImportError, AttributeError) as error:
                self._loaded[category, kind] = str(error)
        loaded = self._loaded[category, kind]
        if isinstance(loaded, str):
            problems.append(document.problem(path, f"the {category} {kind} can't be loaded: {loaded}"))
            return None
        return loaded

    def validated(
        self,
        adapter: type[Any],
        document: Document,
        problems: list[Problem],
        *,
        model: str = "Parameters",
        secrets: bool = True,
    ) -> BaseModel | None:
        """The document's content by the adapter's own model; None, with every problem appended, when it does not
        fit. `secrets`: fields that hold secrets must have been written as references."""
        declared: type[BaseModel] = getattr(adapter, model, NoParameters)
        found = validate(declared, document, problems)
        if found is not None and secrets:
            for key in secret_keys(declared):
                if document.content.get(key) and not document.referred((key,)):
                    problems.append(document.problem((key,), UNREFERRED))
        return found

    def values(self, adapter: type[Any]) -> Mapping[str, str]:
        """The values a probe's results report: name -> "string", "int", "double" or "bool"."""
        declared: Mapping[str, str] = getattr(adapter, "values", {})
        return declared

    def values_of(self, probe: str) -> Mapping[str, str]:
        """`values` of a probe by its kind. Raises ImportError or AttributeError when it can't be loaded."""
        if probe not in self.names.get("probe", ()):
            return {}
        return self.values(self.load("probe", probe))


def secret_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of `model` that hold secrets."""
    fields = model.model_fields.items()
    return tuple(field_.alias or name for name, field_ in fields if _is_secret(field_.annotation))


def _is_secret(annotation: Any) -> bool:
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(_is_secret(argument) for argument in getattr(annotation, "__args__", ()))
