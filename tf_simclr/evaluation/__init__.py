"""A network and data to metrics; what the report and TensorBoard show of them."""
