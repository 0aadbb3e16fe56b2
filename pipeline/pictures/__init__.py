"""Images of results: conversion, charts, labels and layout. Pillow and torch only."""
