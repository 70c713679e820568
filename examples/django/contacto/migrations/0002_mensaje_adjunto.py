from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("contacto", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="mensaje",
            name="adjunto",
            field=models.FileField(blank=True, default="", db_default="", upload_to="adjuntos/%Y/%m/"),
        ),
    ]
