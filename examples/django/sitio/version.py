"""La versión visible del sitio: cámbiala, haz push y mira la página."""

VERSION = "1"
