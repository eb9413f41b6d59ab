"""Rendering and checking the Helm chart."""
