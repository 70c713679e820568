"""El formulario de contacto, con los límites del adjunto."""

from django import forms
from django.core.validators import FileExtensionValidator
from django.template.defaultfilters import filesizeformat

from .models import Mensaje

# En bytes. El formulario es público: nada que un navegador ejecute (html, svg).
ADJUNTO_MAXIMO = 5 * 1024 * 1024
ADJUNTO_TIPOS = ["pdf", "txt", "jpg", "jpeg", "png", "webp"]


class FormularioDeContacto(forms.ModelForm):
    class Meta:
        model = Mensaje
        fields = ["nombre", "correo", "texto", "adjunto"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["adjunto"].validators.append(FileExtensionValidator(ADJUNTO_TIPOS))

    def clean_adjunto(self):
        adjunto = self.cleaned_data["adjunto"]
        if adjunto and adjunto.size > ADJUNTO_MAXIMO:
            raise forms.ValidationError(f"El adjunto no puede pasar de {filesizeformat(ADJUNTO_MAXIMO)}.")
        return adjunto
