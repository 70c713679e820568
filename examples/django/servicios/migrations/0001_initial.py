from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Servicio",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("nombre", models.CharField(max_length=100, unique=True)),
                ("descripcion", models.TextField(verbose_name="descripción")),
                ("orden", models.PositiveSmallIntegerField(default=0)),
                ("activo", models.BooleanField(default=True)),
            ],
            options={"ordering": ["orden", "nombre"]},
        ),
        migrations.CreateModel(
            name="Testimonio",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("autor", models.CharField(max_length=100)),
                ("empresa", models.CharField(blank=True, max_length=100)),
                ("texto", models.TextField()),
                ("publicado", models.BooleanField(default=False)),
            ],
            options={"ordering": ["autor"]},
        ),
    ]
