"""Labels: answers of people about tiles, photographs and boxes, and what follows from them."""
