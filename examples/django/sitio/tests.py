import re
import tempfile
from pathlib import Path
from unittest import mock

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import SimpleTestCase, TestCase, override_settings

from servicios.models import Servicio, Testimonio

from .pruebas import ajustes_de_prueba
from .settings import base_de_datos
from .version import VERSION

@ajustes_de_prueba
class PaginasTest(TestCase):
    def test_la_portada_muestra_lo_que_sembraron_las_migraciones(self):
        respuesta = self.client.get("/")
        self.assertContains(respuesta, '<li class="servicio">', count=4)
        self.assertContains(respuesta, "María Fernández")
        self.assertContains(respuesta, f'<p id="version">{VERSION}</p>', html=True)

    def test_lo_inactivo_y_lo_no_publicado_no_se_ve(self):
        Servicio.objects.filter(nombre="Soporte técnico").update(activo=False)
        Testimonio.objects.create(autor="Anónimo", texto="spam")
        respuesta = self.client.get("/")
        self.assertNotContains(respuesta, "Soporte técnico")
        self.assertNotContains(respuesta, "Anónimo")

    def test_version_es_texto_plano(self):
        respuesta = self.client.get("/version/")
        self.assertEqual(respuesta.content.decode(), f"{VERSION}\n")
        self.assertTrue(respuesta["Content-Type"].startswith("text/plain"))

    def test_salud_pregunta_a_la_base_de_datos(self):
        self.assertEqual(self.client.get("/salud/").content, b"ok")
        self.client.raise_request_exception = False
        with mock.patch.object(connection, "cursor", side_effect=DatabaseError("caída")):
            with self.assertLogs("django.request", "ERROR"):
                self.assertEqual(self.client.get("/salud/").status_code, 500)

    def test_las_migraciones_estan_al_dia(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)

    def test_una_fila_de_la_version_anterior_recibe_los_valores_nuevos(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO servicios_testimonio (autor, empresa, texto, publicado) VALUES ('Eva', '', 'Bien', %s)",
                [True],
            )
        eva = Testimonio.objects.get(autor="Eva")
        self.assertEqual((eva.estrellas, eva.foto.name), (5, ""))


class EstaticosTest(SimpleTestCase):
    def test_collectstatic_da_nombres_con_resumen_y_corrige_las_referencias(self):
        with tempfile.TemporaryDirectory() as carpeta, override_settings(STATIC_ROOT=carpeta):
            call_command("collectstatic", interactive=False, verbosity=0)
            [hoja] = [f for f in Path(carpeta, "sitio").glob("estilo.*.css")]
            self.assertRegex(hoja.name, r"^estilo\.[0-9a-f]{12}\.css$")
            [olas] = re.findall(r'url\("(.+?)"\)', hoja.read_text())
            self.assertRegex(olas, r"^olas\.[0-9a-f]{12}\.svg$")
            self.assertTrue(hoja.with_name(olas).is_file())


class BaseDeDatosTest(SimpleTestCase):
    def test_sin_variables_es_sqlite(self):
        self.assertEqual(base_de_datos({})["ENGINE"], "django.db.backends.sqlite3")

    def test_la_url_se_descifra(self):
        base = base_de_datos({"DATABASE_URL": "postgres://ana:a%2Fb%40c@db:5433/tienda"})
        self.assertEqual(
            [base[clave] for clave in ("NAME", "USER", "PASSWORD", "HOST", "PORT")],
            ["tienda", "ana", "a/b@c", "db", "5433"],
        )

    def test_las_variables_sueltas_ganan_a_la_url(self):
        base = base_de_datos({"DATABASE_URL": "postgres://a:b@x/y", "DB_HOST": "db", "DB_NAME": "tienda"})
        self.assertEqual((base["HOST"], base["NAME"]), ("db", "tienda"))

    def test_otra_base_se_rechaza(self):
        with self.assertRaises(ImproperlyConfigured):
            base_de_datos({"DATABASE_URL": "mysql://a:b@x/y"})
