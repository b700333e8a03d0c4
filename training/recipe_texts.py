"""What the recipes say of themselves, marked for translation.

The engine knows no Django, so its recipes are plain English; pages translate them by these texts.
"""

from django.utils.translation import gettext_noop as _

from training.engine.recipe import Recipe

TEXTS = (
    # Titles and descriptions.
    _("Fast network"),
    _(
        "Six convolutions behind a frozen whitening layer, trained with Muon, on small images first. "
        "More accurate than the report's network, and a quarter of its size."
    ),
    _("Network for photos"),
    _(
        "Features learned on ImageNet, one half kept and one half trained on CIFAR-10. The best on "
        "photos from phones and cameras; knows best when a photo shows none of the ten."
    ),
    _("The report's network"),
    _(
        "Three pairs of convolutions with dropout, two dense layers, 9,176,018 parameters. "
        "The baseline that every other recipe is held against."
    ),
    # Parameters: names and help.
    _("Epochs"),
    _("How often the network sees every training image."),
    _("Batch size"),
    _("Images in one step of the optimizer."),
    _("Seed"),
    _("The same seed gives the same weights, order and augmentation."),
    _("Learning rate"),
    _("AdamW's highest step size; it rises, then falls."),
    _("Adam's step size: how far the weights move at each step."),
    _("Label smoothing"),
    _("Share of the target spread over all classes."),
    _("Dropout"),
    _("Share of activations dropped between the blocks."),
    _("Small epochs"),
    _("Of these, the first ones see images of 24x24 pixels."),
    _("Filter rate"),
    _("Muon's step size for the filters."),
    _("Cutout"),
    _("Side of the square that each training image loses, pixels."),
)


def texts_of(recipe: Recipe) -> list[str]:
    """All that pages show of a recipe, in English."""
    shown = [recipe.title, recipe.description]
    for parameter in recipe.parameters:
        shown += [label(parameter.name), parameter.help]
    return shown


def label(name: str) -> str:
    """'learning_rate' as 'Learning rate'."""
    return name.replace("_", " ").capitalize()
