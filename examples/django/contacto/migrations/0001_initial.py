from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Mensaje",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("nombre", models.CharField(max_length=100)),
                ("correo", models.EmailField(max_length=254)),
                ("texto", models.TextField(max_length=5000, verbose_name="mensaje")),
                ("recibido", models.DateTimeField(auto_now_add=True)),
            ],
            options={"ordering": ["-recibido"]},
        ),
    ]
