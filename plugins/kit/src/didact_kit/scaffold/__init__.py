"""Files for plugin authors: a new plugin, and another component for one that exists."""
