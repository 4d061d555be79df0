"""Steps of the migrations."""
