"""feature_actors"""
