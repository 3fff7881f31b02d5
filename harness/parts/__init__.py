"""What reference models share and stock torch lacks: a module here pickles by a name that every process knows."""
