"""Conditions and numbers made of the fields of an event, evaluated on whole columns."""
