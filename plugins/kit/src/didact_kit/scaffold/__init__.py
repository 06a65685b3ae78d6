"""Files for plugin authors: a new plugin, and a new component for an existing plugin."""
