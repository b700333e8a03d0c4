"""Between the web server and the views: the worker that receives requests, WSGI wrappers, middleware."""
