"""Los ajustes con que corren las pruebas de páginas: sin collectstatic previo."""

from django.conf import settings
from django.test import override_settings

ajustes_de_prueba = override_settings(
    ALLOWED_HOSTS=["testserver"],
    STORAGES=settings.STORAGES
    | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
)
