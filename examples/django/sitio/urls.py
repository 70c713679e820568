"""Las direcciones del sitio."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.portada, name="portada"),
    path("version/", views.version, name="version"),
    path("salud/", views.salud, name="salud"),
    path("contacto/", include("contacto.urls")),
    path("admin/", admin.site.urls),
    # Solo con DEBUG: en producción los archivos subidos los sirve zarpar.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
