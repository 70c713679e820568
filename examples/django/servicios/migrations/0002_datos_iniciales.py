"""El contenido con que nace el sitio; después se edita en /admin/."""

from django.db import migrations

SERVICIOS = [
    ("Desarrollo web", "Sitios y aplicaciones a la medida, del boceto a producción."),
    ("Redes y cableado", "Diseño, instalación y certificación de redes para tu oficina."),
    ("Soporte técnico", "Un equipo que contesta, en sitio o a distancia."),
    ("Copias de seguridad", "Respaldos diarios y, lo que importa, restauraciones probadas."),
]

TESTIMONIOS = [
    ("María Fernández", "Panadería La Espiga", "Ahora los pedidos llegan por la web y no se pierde ninguno."),
    ("José Gregorio Rivas", "Clínica Los Andes", "Cambiaron toda la red en un fin de semana y el lunes nadie lo notó."),
    ("Ana Lucía Peña", "", "Me explicaron cada paso con paciencia. Los recomiendo."),
]


def sembrar(apps, schema_editor):
    Servicio = apps.get_model("servicios", "Servicio")
    Testimonio = apps.get_model("servicios", "Testimonio")
    Servicio.objects.bulk_create(
        Servicio(nombre=nombre, descripcion=descripcion, orden=orden)
        for orden, (nombre, descripcion) in enumerate(SERVICIOS, start=1)
    )
    Testimonio.objects.bulk_create(
        Testimonio(autor=autor, empresa=empresa, texto=texto, publicado=True)
        for autor, empresa, texto in TESTIMONIOS
    )


def retirar(apps, schema_editor):
    """Solo lo sembrado: lo que alguien escribió en /admin/ se queda."""
    apps.get_model("servicios", "Servicio").objects.filter(nombre__in=[n for n, _ in SERVICIOS]).delete()
    apps.get_model("servicios", "Testimonio").objects.filter(texto__in=[t for _, _, t in TESTIMONIOS]).delete()


class Migration(migrations.Migration):
    dependencies = [("servicios", "0001_initial")]

    operations = [migrations.RunPython(sembrar, retirar)]
