"""Django admin of this app's tables; importing the package registers them."""

from classifier.admin import (  # noqa: F401 - they register tables
    batches,
    corrections,
    explanations,
    monitoring,
    photos,
    users,
)
