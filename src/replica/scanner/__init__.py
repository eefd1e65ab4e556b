"""How a site scans and stores: the grid, noise, kernel, artefacts, and the odd studies."""
