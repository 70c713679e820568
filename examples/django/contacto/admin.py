from django.contrib import admin

from .models import Mensaje


@admin.register(Mensaje)
class MensajeAdmin(admin.ModelAdmin):
    list_display = ["nombre", "correo", "recibido"]
    search_fields = ["nombre", "correo", "texto"]
    readonly_fields = ["recibido"]
