from typing import Any

from django.db import migrations
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone


def keep_owners_alone(apps: Any, schema_editor: Any) -> None:
    """Forget what others than the owner said of a photo, and the copies for training that no owner
    asked for or allows any more. The sweeper removes their files.
    """
    alias = schema_editor.connection.alias
    corrections = apps.get_model("classifier", "Correction").objects.using(alias)
    examples = apps.get_model("classifier", "Example").objects.using(alias)
    images = apps.get_model("training", "DatasetImage").objects.using(alias)
    own = corrections.filter(photo=OuterRef("photo"), by=OuterRef("photo__owner"))
    others = corrections.filter(photo=OuterRef("photo")).exclude(by=OuterRef("photo__owner"))
    wrong = examples.filter(~Q(photo__owner__consent__given=True) | Q(Exists(others) & ~Exists(own)))
    photos = list(wrong.values_list("photo_id", flat=True))
    images.filter(source__in=photos, withdrawn_at=None).update(withdrawn_at=timezone.now())
    examples.filter(photo__in=photos).delete()
    corrections.filter(photo__in=photos, state="accepted").update(
        state="proposed", reviewed_by=None, reviewed_at=None
    )
    corrections.exclude(by=F("photo__owner")).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("classifier", "0003_field_names"),
        ("training", "0003_measured_photos"),
    ]

    operations = [migrations.RunPython(keep_owners_alone, migrations.RunPython.noop, elidable=True)]
