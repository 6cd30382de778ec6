"""What /metrics says, as a dict."""

from prometheus_client.parser import text_string_to_metric_families

Figures = dict[tuple[str, ...], float]


def figures(exposition: str) -> Figures:
    """Return each sample's value by its name and the values of its labels, in the order of the labels' names."""
    families = text_string_to_metric_families(exposition)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def added(before: Figures, after: Figures) -> Figures:
    """Return what has changed, and by how much."""
    changed = {place: value - before.get(place, 0.0) for place, value in after.items()}
    return {place: value for place, value in changed.items() if value}
