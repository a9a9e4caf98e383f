"""What several bundled converters share: reading times, numbers, encodings and declared mappings. Nothing here knows a format."""
