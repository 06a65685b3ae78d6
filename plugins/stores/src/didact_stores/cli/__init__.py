"""The commands of didact-stores."""
