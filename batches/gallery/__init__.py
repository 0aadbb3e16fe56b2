"""What people look at after a sweep: sheets of images by two columns, and one page over the manifest."""
