"""Every setting as a frozen dataclass, the presets, and where everything lies. No torch here."""
