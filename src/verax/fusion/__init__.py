"""Photo, base and registered prior to restoration."""
