"""Conditioning: what a prompt asks for, as features of every frame."""
