import tempfile
from pathlib import Path

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, TestCase, override_settings

from sitio.pruebas import ajustes_de_prueba

from .forms import ADJUNTO_MAXIMO
from .models import Mensaje

DATOS = {"nombre": "Simón", "correo": "simon@example.com", "texto": "¿Cuánto cuesta una página?"}


@ajustes_de_prueba
class ContactoTest(TestCase):
    def setUp(self):
        carpeta = tempfile.TemporaryDirectory()
        self.addCleanup(carpeta.cleanup)
        ajustes = override_settings(MEDIA_ROOT=carpeta.name)
        ajustes.enable()
        self.addCleanup(ajustes.disable)
        self.media = Path(carpeta.name)

    def test_un_mensaje_valido_queda_guardado_y_se_agradece(self):
        respuesta = self.client.post("/contacto/", DATOS, follow=True)
        self.assertContains(respuesta, "Gracias, recibimos tu mensaje.")
        self.assertEqual(Mensaje.objects.get().texto, DATOS["texto"])

    def test_el_adjunto_llega_intacto_a_media(self):
        self.client.post("/contacto/", DATOS | {"adjunto": SimpleUploadedFile("plano.pdf", b"%PDF-1.7 x")})
        adjunto = Mensaje.objects.get().adjunto
        self.assertEqual((self.media / adjunto.name).read_bytes(), b"%PDF-1.7 x")

    def test_un_adjunto_demasiado_grande_se_rechaza(self):
        grande = SimpleUploadedFile("plano.pdf", b"x" * (ADJUNTO_MAXIMO + 1))
        respuesta = self.client.post("/contacto/", DATOS | {"adjunto": grande})
        self.assertContains(respuesta, "El adjunto no puede pasar de", status_code=422)
        self.assertFalse(Mensaje.objects.exists())

    def test_un_adjunto_que_el_navegador_ejecutaria_se_rechaza(self):
        respuesta = self.client.post("/contacto/", DATOS | {"adjunto": SimpleUploadedFile("a.html", b"<script>")})
        self.assertEqual(respuesta.status_code, 422)
        self.assertFalse(Mensaje.objects.exists())

    def test_sin_token_csrf_no_se_guarda_nada(self):
        respuesta = Client(enforce_csrf_checks=True).post("/contacto/", DATOS)
        self.assertEqual(respuesta.status_code, 403)
        self.assertFalse(Mensaje.objects.exists())
