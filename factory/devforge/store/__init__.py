"""The forge's rows and the rules about them. HTTP API and pages call the same functions."""

from factory.devforge.store.database import Store as Store
