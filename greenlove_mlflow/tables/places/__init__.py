"""Carbon intensity and price of electricity by place."""
