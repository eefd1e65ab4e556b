"""What travels to Kaggle, what its kernels do, and the same kernel run here."""
