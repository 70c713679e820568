import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servicios", "0002_datos_iniciales")]

    operations = [
        migrations.AddField(
            model_name="testimonio",
            name="estrellas",
            field=models.PositiveSmallIntegerField(
                # También en la base: la versión anterior del sitio sigue
                # escribiendo filas sin este campo mientras se publica la nueva.
                db_default=5,
                default=5,
                validators=[
                    django.core.validators.MinValueValidator(1),
                    django.core.validators.MaxValueValidator(5),
                ],
            ),
        ),
        migrations.AddField(
            model_name="testimonio",
            name="foto",
            field=models.FileField(
                blank=True,
                default="",
                db_default="",
                upload_to="testimonios/",
                validators=[django.core.validators.FileExtensionValidator(["jpg", "jpeg", "png", "webp"])],
            ),
        ),
        migrations.AlterModelOptions(name="testimonio", options={"ordering": ["-estrellas", "autor"]}),
    ]
