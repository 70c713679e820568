from django.contrib import admin

from .models import Servicio, Testimonio


@admin.register(Servicio)
class ServicioAdmin(admin.ModelAdmin):
    list_display = ["nombre", "orden", "activo"]
    list_editable = ["orden", "activo"]


@admin.register(Testimonio)
class TestimonioAdmin(admin.ModelAdmin):
    list_display = ["autor", "empresa", "estrellas", "publicado"]
    list_filter = ["publicado"]
