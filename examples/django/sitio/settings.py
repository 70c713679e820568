"""Ajustes del sitio. En producción todo llega por variables de entorno.

Sin DB_HOST ni DATABASE_URL se usa SQLite, y DEBUG solo se enciende si alguien
escribe DEBUG=True: olvidarse de una variable nunca abre el sitio.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def lista(nombre):
    """Los valores de una variable separada por comas, sin vacíos."""
    return [valor.strip() for valor in os.environ.get(nombre, "").split(",") if valor.strip()]


def base_de_datos(entorno):
    """La base que describen DB_* o DATABASE_URL; si no hay ninguna, SQLite."""
    if entorno.get("DB_HOST"):
        datos = {
            "NAME": entorno.get("DB_NAME", ""),
            "USER": entorno.get("DB_USER", ""),
            "PASSWORD": entorno.get("DB_PASSWORD", ""),
            "HOST": entorno["DB_HOST"],
            "PORT": entorno.get("DB_PORT", "5432"),
        }
    elif entorno.get("DATABASE_URL"):
        url = urlsplit(entorno["DATABASE_URL"])
        if url.scheme not in ("postgres", "postgresql"):
            raise ImproperlyConfigured("DATABASE_URL debe empezar por postgres://")
        datos = {
            "NAME": unquote(url.path.lstrip("/")),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname or "",
            "PORT": str(url.port or 5432),
        }
    else:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **datos,
        # Las conexiones se reutilizan; si la base se reinició, se abren de nuevo.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


DEBUG = os.environ.get("DEBUG") == "True"

SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured("Falta SECRET_KEY (en tu máquina: DEBUG=True python manage.py …)")
    SECRET_KEY = "solo-para-desarrollo"

ALLOWED_HOSTS = lista("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = lista("CSRF_TRUSTED_ORIGINS")
SITE_URL = os.environ.get("SITE_URL", "http://localhost:8000")

# TLS termina en el proxy, que dice con esta cabecera cómo llegó la visita.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Las cookies viajan solo por HTTPS cuando el sitio se publica con HTTPS.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SITE_URL.startswith("https://")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "sitio",
    "servicios",
    "contacto",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "sitio.urls"
WSGI_APPLICATION = "sitio.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "sitio.contexto.version",
            ],
        },
    },
]

DATABASES = {"default": base_de_datos(os.environ)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "es"
TIME_ZONE = "America/Caracas"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Cada archivo lleva en el nombre un resumen de su contenido: puede guardarse
    # en caché para siempre, y dos versiones del sitio no se pisan.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"consola": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["consola"], "level": "INFO"},
}
