"""Projects: who may see them, their classes, their images and how these come in."""
