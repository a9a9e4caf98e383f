"""The bundled converters. Each registers its spec and keeps its class in a module that only workers import."""
