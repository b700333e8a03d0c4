from typing import Any

from django.db import migrations

from training.models.projects import make_default_project


def make(apps: Any, schema_editor: Any) -> None:
    """CIFAR-10 becomes a project: what is there so far belongs to it."""
    make_default_project(None, using=schema_editor.connection.alias, apps=apps)


class Migration(migrations.Migration):
    dependencies = [("training", "0005_projects")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
