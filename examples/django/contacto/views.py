"""El formulario de contacto: guarda el mensaje y da las gracias."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .forms import FormularioDeContacto


@require_http_methods(["GET", "HEAD", "POST"])
def contacto(request):
    if request.method != "POST":
        return render(request, "contacto/contacto.html", {"formulario": FormularioDeContacto()})
    formulario = FormularioDeContacto(request.POST, request.FILES)
    if not formulario.is_valid():
        return render(request, "contacto/contacto.html", {"formulario": formulario}, status=422)
    formulario.save()
    messages.success(request, "Gracias, recibimos tu mensaje.")
    # Un redirect: recargar la página no envía el mensaje otra vez.
    return redirect("contacto")
