// En pantallas pequeñas el menú se abre con un botón.
const boton = document.getElementById("menu");
const navegacion = document.getElementById("navegacion");

boton.addEventListener("click", () => {
  const abierta = navegacion.classList.toggle("abierta");
  boton.setAttribute("aria-expanded", String(abierta));
});
