from datetime import UTC
from typing import Any

from django.db import migrations
from django.db.models import Count, F
from django.db.models.functions import TruncDate


def fill(apps: Any, schema_editor: Any) -> None:
    """Words, days and the owners' answers of the photos that are there."""
    from classifier.names import WORDS_A_NAME, words_of

    # The database that is migrated: where rows are copied into another one, it is not the usual one.
    alias = schema_editor.connection.alias
    models = {name: apps.get_model("classifier", name) for name in ("Photo", "NameWord", "DayCount")}
    words = []
    for photo in (
        models["Photo"].objects.using(alias).only("pk", "owner_id", "filename").order_by().iterator(2_000)
    ):
        words += [
            models["NameWord"](owner_id=photo.owner_id, photo_id=photo.pk, word=word)
            for word in words_of(photo.filename)[:WORDS_A_NAME]
        ]
        if len(words) > 5_000:
            models["NameWord"].objects.using(alias).bulk_create(words)
            words = []
    models["NameWord"].objects.using(alias).bulk_create(words)
    # Each day is counted when somebody looks at it, or by the sweeper. ``changes`` is an upper bound.
    days = models["Photo"].objects.using(alias).order_by().annotate(day=TruncDate("created_at", tzinfo=UTC))
    rows = days.values_list("owner_id", "day").annotate(n=Count("pk"))
    models["DayCount"].objects.using(alias).bulk_create(
        [models["DayCount"](owner_id=owner, day=day, changes=n) for owner, day, n in rows.iterator(2_000)],
        batch_size=2_000,
    )
    correction = (
        apps.get_model("classifier", "Correction").objects.using(alias).filter(by_id=F("photo__owner_id"))
    )
    prediction = apps.get_model("classifier", "Prediction").objects.using(alias).filter(is_current=True)
    for says, which in (
        ("not_sure", correction.filter(label="not_sure")),
        ("agrees", correction.filter(label=F("predicted")).exclude(label="not_sure")),
        ("differs", correction.exclude(label=F("predicted")).exclude(label="not_sure")),
    ):
        prediction.filter(photo_id__in=which.values("photo_id")).update(owner_says=says)


class Migration(migrations.Migration):
    dependencies = [("classifier", "0006_counts_names_uploads")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=True)]
