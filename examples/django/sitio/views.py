"""La portada y las dos páginas para máquinas: versión y salud."""

from django.db import connection
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from servicios.models import Servicio, Testimonio

from .version import VERSION


@require_safe
def portada(request):
    return render(
        request,
        "portada.html",
        {
            "servicios": Servicio.objects.filter(activo=True),
            "testimonios": Testimonio.objects.filter(publicado=True),
        },
    )


@require_safe
@never_cache
def version(request):
    return HttpResponse(f"{VERSION}\n", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
def salud(request):
    """Sano es: este proceso contesta y la base de datos también."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return HttpResponse("ok", content_type="text/plain; charset=utf-8")
