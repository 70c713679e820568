"""Lo que la empresa ofrece y lo que dicen de ella."""

from django.core.validators import FileExtensionValidator, MaxValueValidator, MinValueValidator
from django.db import models


class Servicio(models.Model):
    nombre = models.CharField(max_length=100, unique=True)
    descripcion = models.TextField("descripción")
    orden = models.PositiveSmallIntegerField(default=0)
    activo = models.BooleanField(default=True)

    class Meta:
        ordering = ["orden", "nombre"]

    def __str__(self):
        return self.nombre


class Testimonio(models.Model):
    autor = models.CharField(max_length=100)
    empresa = models.CharField(max_length=100, blank=True)
    texto = models.TextField()
    estrellas = models.PositiveSmallIntegerField(
        default=5, db_default=5, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    foto = models.FileField(
        upload_to="testimonios/",
        blank=True,
        default="",
        db_default="",
        validators=[FileExtensionValidator(["jpg", "jpeg", "png", "webp"])],
    )
    publicado = models.BooleanField(default=False)

    class Meta:
        ordering = ["-estrellas", "autor"]

    def __str__(self):
        return f"{self.autor}: {self.texto[:40]}"
