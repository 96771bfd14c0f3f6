"""The order of the components, and the hardware that they run on."""
