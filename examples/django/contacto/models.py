"""Los mensajes que dejan las visitas."""

from django.db import models


class Mensaje(models.Model):
    nombre = models.CharField(max_length=100)
    correo = models.EmailField()
    texto = models.TextField("mensaje", max_length=5000)
    adjunto = models.FileField(upload_to="adjuntos/%Y/%m/", blank=True, default="", db_default="")
    recibido = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-recibido"]

    def __str__(self):
        return f"{self.nombre} <{self.correo}>"
