"""An exposition as Prometheus' own client library reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from failoverd.daemon.metrics.families import FAMILIES, Kind

Labels = frozenset[tuple[str, str]]


class Parsed:
    """The samples of an exposition, by name and labels."""

    def __init__(self, text: bytes | str) -> None:
        self.text = text.decode() if isinstance(text, bytes) else text
        self._families = list(text_string_to_metric_families(self.text))
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in self._families:
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, key
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        return self.samples[f"failoverd_{name}", frozenset(labels.items())]

    def of(self, name: str) -> dict[Labels, float]:
        return {labels: value for (each, labels), value in self.samples.items() if each == f"failoverd_{name}"}

    def held_against_the_declarations(self) -> None:
        """Each family is declared, and has the type, the text and the labels that are declared."""
        declared = {family.name: family for family in FAMILIES}
        for found in self._families:
            counter = found.type == Kind.COUNTER.value  # whose name the library shortens
            family = declared[f"{found.name}_total" if counter else found.name]
            assert (found.type, found.documentation) == (family.kind.value, f"{family.text}.")
            for sample in found.samples:
                assert set(sample.labels) - {"le"} == set(family.labels), sample
