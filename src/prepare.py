"""Turn every DICOM series of train.csv into a small volume in CACHE/volumes; run again, it goes on."""

from cspine import stage
from cspine.scans.batch import BatchSettings
from cspine.scans.prepare import prepare
from cspine.training.cached import open_volumes
from cspine.training.presets import preset_named


def main(settings: BatchSettings) -> None:
    """Prepare, list what failed, say the figures."""
    preset = preset_named(settings.preset)
    store = open_volumes(settings.cache, preset)
    batch = prepare(
        settings.raw,
        store,
        settings.workers,
        preset.locator.spacing_mm,
        retry_failed=settings.retry_failed,
        scheduler=settings.scheduler,
    )
    batch.tell("prepare", read=settings.raw, wrote=store.folder)


if __name__ == "__main__":
    stage.run(main, BatchSettings)
