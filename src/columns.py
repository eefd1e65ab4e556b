"""Cut C1-C7 out of every series into CACHE/columns; run again, it goes on."""

from cspine import stage
from cspine.competition.tables import read_boxes, read_train
from cspine.scans.batch import BatchSettings
from cspine.scans.cutting import Cut, cut_columns
from cspine.training.cached import open_columns, open_labels
from cspine.training.presets import preset_named


def main(settings: BatchSettings) -> None:
    """Cut what is missing, list what failed, say the figures."""
    preset = preset_named(settings.preset)
    labels, columns = open_labels(settings.cache, preset), open_columns(settings.cache, preset)
    cut = Cut(settings.raw, labels, columns, preset.column)
    batch = cut_columns(
        cut,
        read_train(settings.raw),
        read_boxes(settings.raw),
        settings.workers,
        retry_failed=settings.retry_failed,
        scheduler=settings.scheduler,
    )
    batch.tell("columns", read=f"{settings.raw} and {labels.folder}", wrote=columns.folder)


if __name__ == "__main__":
    stage.run(main, BatchSettings)
